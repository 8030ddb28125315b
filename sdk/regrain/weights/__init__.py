"""What models weigh, once per node. The files in here are made from models, and never from what a caller sent."""
