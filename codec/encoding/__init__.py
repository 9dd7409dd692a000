"""A video -> one .nerv file."""
