"""Stages of pretraining: which parts they compose, and their objectives."""
