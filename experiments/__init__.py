"""Published results run again: one subpackage a paper, one script a question."""
