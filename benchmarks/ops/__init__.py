"""Operations: the cases of each, and the command that measures them."""
