"""`jaxvision attack`: robust accuracy of a run, and adversarial images of a user's files."""
