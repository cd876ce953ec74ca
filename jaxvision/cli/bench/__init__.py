"""`jaxvision bench`: the speed of a config, measured or planned."""
