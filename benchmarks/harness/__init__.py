"""Timers, profilers and tables for all benchmarks."""
