// Images laid flat, so that a tap moves all pixels of a tile by one and the same number of rows.
//
// Pixels are counted as if every row of an image ended with zeros, and every image with rows of zeros: `wide` to a row,
// `high` rows to an image. What lies between two rows is the right border of one and the left border of the next.
//
//   w = 4, pad 1, wide = 5        0  1  2  3  z        tap (y, x) of a pixel: the pixel y * 5 + x behind that of tap
//                                 5  6  7  8  z        (0, 0), in whichever row and image it is
//                                10 11 ...
//
// The output is counted in the same grid, so some of a tile's pixels are nobody's: 1 in 29 of rows of 28.
#pragma once
#include "image.cuh"

// Pixels of such a grid, counted from one of them on, which may lie before the first image.
struct Flat {
  const int high, wide;
  int image, y, x;  // of the first
  Divider across, down;

  struct Pixel {
    int image, y, x;
  };

  __device__ __forceinline__ Flat(int first, int high, int wide) : high(high), wide(wide), across(wide), down(high) {
    const int all = high * wide;
    image = first >= 0 ? first / all : -((all - 1 - first) / all);
    const int within = first - image * all;
    y = within / wide, x = within - y * wide;
  }

  __device__ __forceinline__ int first() const { return (image * high + y) * wide + x; }

  __device__ __forceinline__ Pixel at(int number) const {
    const int columns = x + number, rows = across(columns), lines = y + rows, images = down(lines);
    return {image + images, lines - images * high, columns - rows * wide};
  }

  // Number of the pixel (y, x) of an image.
  __device__ __forceinline__ int number(int image, int y, int x) const { return (image * high + y) * wide + x - first(); }

  // Pixels of `images` images of h x w that come before pixel `number`, with none between rows.
  __device__ __forceinline__ int before(int number, int images, int h, int w) const {
    const Pixel pixel = at(number);
    if (pixel.image < 0) return 0;
    if (pixel.image >= images) return images * h * w;
    return pixel.image * h * w + min(pixel.y, h) * w + (pixel.y < h ? min(pixel.x, w) : 0);
  }
};
