"""Simulates pods behind a balancer and an autoscaler, from measured costs and a trace."""
