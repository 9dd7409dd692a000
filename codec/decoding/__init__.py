"""A .nerv file -> frames, patches, features, and what it says of itself."""
