"""What contributors call through make."""
