"""Heads of custom models: training, validation, and the array file that stores one."""
