"""What each call does, written once as a generator that yields steps; a driver of either kind takes them."""
