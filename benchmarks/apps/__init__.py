"""Apps that do nothing but cost what is to be measured."""
