"""What the compatibility suites share: the demo, its simulated printers, small clients, waiting."""
