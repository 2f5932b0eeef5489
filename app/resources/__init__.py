"""What models and datasets share: uploads, format checks, SQL, and the operations on both."""
