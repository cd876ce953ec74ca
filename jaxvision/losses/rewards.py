"""CIDEr-D on the device."""
