"""Commands of `vipdrill`, a module for each room; `register(app)` adds them. They import late."""
