"""The documentation: the OpenAPI document and its examples, and `/docs`, which shows it by files of this package."""
