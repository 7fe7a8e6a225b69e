"""A cluster of three: etcd, in which the members agree who leads, and Patroni, which makes PostgreSQL follow."""
