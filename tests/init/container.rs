//! The image of `examples/container`, without a container engine.
