// The one-dimensional transforms of Winograd's minimal filtering F(M, 3), on values M + 2 of which belong to a
// tile: y = A^T [(G g) * (B^T d)] gives M outputs of a filter of 3 taps from M + 2 products.
/*[tuner.shared]
[winograd.supports]
"it computes 3x3 kernels" = "r == 3 and s == 3"
"it computes stride 1, dilation 1 and one group" = "stride == 1 and dilation == 1 and groups == 1"
*/
#pragma once

#ifndef TRANSFORM  // CUDA code defines it as a device function
#define TRANSFORM static inline __attribute__((always_inline))
#endif

// F(2, 3), with the interpolation points 0, 1, -1 and infinity (Lavin and Gray, Fast algorithms for convolutional
// neural networks, CVPR 2016).
struct F2 {
    enum { OUT = 2, IN = 4 };

    template <class T>
    TRANSFORM void image(T* v, int to, const T* d, int from) {
        const T d1 = d[from], d2 = d[2 * from];
        v[0] = d[0] - d2;
        v[to] = d1 + d2;
        v[2 * to] = d2 - d1;
        v[3 * to] = d1 - d[3 * from];
    }

    template <class T>
    TRANSFORM void filter(T* u, int to, const T* g, int from) {
        const T outer = g[0] + g[2 * from], middle = g[from];
        u[0] = g[0];
        u[to] = 0.5f * (outer + middle);
        u[2 * to] = 0.5f * (outer - middle);
        u[3 * to] = g[2 * from];
    }

    template <class T>
    TRANSFORM void result(T* y, int to, const T* m, int from) {
        y[0] = m[0] + m[from] + m[2 * from];
        y[to] = m[from] - m[2 * from] - m[3 * from];
    }
};

// F(4, 3). The usual points 0, 1, -1, 2, -2 and infinity lose two more bits than a direct sum, since the
// transforms amplify rounding by powers of 2; with 0, 3/4, -3/4, 11/8, -11/8 all factors stay near 1 (after
// Barabasz, Anderson, Soodhalter, Gregg, Error analysis and improving the accuracy of Winograd convolution for
// deep neural networks, ACM TOMS 46(4), 2020, whose criterion it is), and those of B^T and A^T are exact.
struct F4 {
    enum { OUT = 4, IN = 6 };
    static constexpr float A = 0.75f, B = 1.375f, AA = A * A, BB = B * B;

    template <class T>
    TRANSFORM void image(T* v, int to, const T* d, int from) {
        const T d1 = d[from], d2 = d[2 * from], d3 = d[3 * from], d4 = d[4 * from];
        const T even_a = d4 - BB * d2, odd_a = A * (d3 - BB * d1);
        const T even_b = d4 - AA * d2, odd_b = B * (d3 - AA * d1);
        v[0] = (AA * BB) * d[0] - (AA + BB) * d2 + d4;
        v[to] = even_a + odd_a;
        v[2 * to] = even_a - odd_a;
        v[3 * to] = even_b + odd_b;
        v[4 * to] = even_b - odd_b;
        v[5 * to] = (AA * BB) * d1 - (AA + BB) * d3 + d[5 * from];
    }

    template <class T>
    TRANSFORM void filter(T* u, int to, const T* g, int from) {
        constexpr float NA = 1 / (2 * AA * (AA - BB)), NB = 1 / (2 * BB * (BB - AA));
        const T g0 = g[0], g1 = g[from], g2 = g[2 * from];
        const T even_a = NA * (g0 + AA * g2), odd_a = (NA * A) * g1;
        const T even_b = NB * (g0 + BB * g2), odd_b = (NB * B) * g1;
        u[0] = (1 / (AA * BB)) * g0;
        u[to] = even_a + odd_a;
        u[2 * to] = even_a - odd_a;
        u[3 * to] = even_b + odd_b;
        u[4 * to] = even_b - odd_b;
        u[5 * to] = g2;
    }

    template <class T>
    TRANSFORM void result(T* y, int to, const T* m, int from) {
        const T sum_a = m[from] + m[2 * from], less_a = m[from] - m[2 * from];
        const T sum_b = m[3 * from] + m[4 * from], less_b = m[3 * from] - m[4 * from];
        y[0] = m[0] + sum_a + sum_b;
        y[to] = A * less_a + B * less_b;
        y[2 * to] = AA * sum_a + BB * sum_b;
        y[3 * to] = (A * AA) * less_a + (B * BB) * less_b + m[5 * from];
    }
};
