"""What measures the speed of a PanDA server from outside; never part of a test run."""
