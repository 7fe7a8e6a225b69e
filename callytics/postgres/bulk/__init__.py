"""Rows into a table by COPY: encoded by Arrow so that they mean the same to PostgreSQL."""
