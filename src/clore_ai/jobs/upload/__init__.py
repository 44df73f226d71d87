"""Decides which files of a folder are uploaded to a machine."""
