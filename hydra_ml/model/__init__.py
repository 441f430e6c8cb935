"""The factored model: a base shared by all users, and one small head per user.

    z  = base(a, b)                       shared, z in R^h
    s  = head(theta_0 + delta_u, z) + v.e   theta_0 shared, delta_u personal (zero for a user nobody has seen)

`encoder` turns texts into vectors, `base` pairs of texts into z, `heads` holds and applies theta and delta,
`factored` puts them together, `fit_base` and `fit_heads` learn them. Used twice: by `reranker` and by `adapter`.
"""
