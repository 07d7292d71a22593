"""Devices, on which stages run: one runtime each, with its arrays, its memory and its clock."""
