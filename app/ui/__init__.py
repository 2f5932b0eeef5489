"""The dashboard at `/ui`: its pages, and the sign-in of browsers.

The pages are in `static`, plain ES modules that ask `/v1` for everything, as any other client.
"""
