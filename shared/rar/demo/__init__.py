"""`rar demo`: both frameworks on two real local models, learning into one memory."""
