"""Ratios in one run: every candidate once per round, so that a noisy machine moves all of them alike."""
