// What the CUDA version stages in shared memory, lane after lane on the CPU, out of videos at any
// address in memory that the address sanitizer watches.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <initializer_list>
#include <vector>

#include "patches.h"

int main() {
  for (const int p : {1, 2, 3, 5, 7, 8, 13, 14, 16, 20, 32, 33, 63, 64}) {
    for (const int columns : {1, 2, 3}) {
      for (const int shift : {0, 1, 2, 3}) {
        const ivn::PatchGrid grid = {1, 2 * p, columns * p, 0, p};
        const int64_t bytes = 3 * grid.H * grid.W;
        uint8_t* room = static_cast<uint8_t*>(malloc(shift + bytes));
        uint8_t* video = room + shift;
        for (int64_t i = 0; i < bytes; ++i) video[i] = static_cast<uint8_t>(rand());
        for (int patch = 0; patch < 2 * columns; ++patch) {
          const uint8_t* corner = video + grid.corner(0, patch);
          std::vector<uint8_t> pixels(grid.row(), 0xAB);
          for (int lane = 0; lane < ivn::kLanes; ++lane) {
            ivn::stage(ivn::Around(corner, video, bytes), 3 * grid.W, grid, lane, pixels.data());
          }
          for (int y = 0; y < p; ++y) {
            if (memcmp(&pixels[y * 3 * p], corner + y * 3 * grid.W, 3 * p) != 0) {
              printf("patch size %d, %d columns, shift %d: line %d of patch %d is wrong\n", p,
                     columns, shift, y, patch);
              return 1;
            }
          }
        }
        free(room);
      }
    }
  }
  return 0;
}
