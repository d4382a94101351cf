"""Tests of sdflow.storage."""
