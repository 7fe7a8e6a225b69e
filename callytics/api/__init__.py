"""The HTTP interface: :func:`create_app` puts the routes together, one noun a module."""

from callytics.api.app import create_app

__all__ = ["create_app"]
