//! The protocol of the admin socket.
