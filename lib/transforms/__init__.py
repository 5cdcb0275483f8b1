"""Random views and image operations on the device, one draw per image."""
