"""The commands of `kennel`, by what they are about."""
