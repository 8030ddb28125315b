"""What functions are declared as to platforms, in each platform's own words.

Pure: a plan can be read before it is sent.
"""
