// The steps of a window of a gated cell, forward and backward, in one call each.
//
// native.py puts `using Real = float;` or `double` before this text, compiles it with the compiler and the settings of
// the cell's kernels, and fills in Plan. The kernels are those that inductor wrote; here are only the loop, the products
// with few rows, the clip of a projection, and the resets.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <utility>

using Int = int64_t;

// A block of a product, ROWS by COLUMNS, is summed in registers: 24 of 32 vectors of AVX-512, 12 of 16 of AVX2.
#ifdef __AVX512F__
constexpr int BYTES = 64, ROWS = 8;
#else
constexpr int BYTES = 32, ROWS = 4;
#endif
constexpr int WIDE = 3, LANES = BYTES / sizeof(Real), COLUMNS = WIDE * LANES;
typedef Real Vector __attribute__((vector_size(BYTES)));

constexpr int MOST_ARGUMENTS = 80;

struct Product {
  const Real* weight;  // as `pack` lays it out; null: there is no such product
  Int inputs, outputs, from, to, added;  // `from` and `to` are columns of Plan.pointers
};

struct Reset {
  Real* initial;  // forward the initial state, backward its gradient so far (null: it is not needed)
  Int width, from, to;  // forward: copy the state from one column to the other; backward: `from` is the gradient
};

struct Plan {
  Int steps, rows, columns, threads;
  char* const* pointers;  // (steps, columns)
  const Int* calls;  // for each kernel its address, the number of its arguments, and a column and an offset for each
  Int words;
  Product recurrent, projection;
  double clip;
  Int y, d_y, d_carried;  // columns: a projected output, its gradient from the loss, and that from the later step
  const bool* resets;  // (steps, rows); null: there are none
  const Reset* parts;
  Int num_parts;
};

template <int R>
static inline void block(const Real* a, Int inputs, const Real* weight, Real* c, Int outputs, bool added, Int columns) {
  Vector sums[R][WIDE] = {};
  for (Int k = 0; k < inputs; k++, weight += COLUMNS) {
    Vector w[WIDE];
    std::memcpy(w, weight, sizeof w);
#pragma GCC unroll 8
    for (int r = 0; r < R; r++)
#pragma GCC unroll 3
      for (int q = 0; q < WIDE; q++) sums[r][q] += a[r * inputs + k] * w[q];
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; r++) {
    Real row[COLUMNS], *to = c + r * outputs;
    std::memcpy(row, sums[r], sizeof row);
    for (Int j = 0; j < columns; j++) to[j] = added ? to[j] + row[j] : row[j];
  }
}

template <int R = ROWS, class... Arguments>
static void block_of(Int rows, Arguments... arguments) {
  if constexpr (R > 0) {
    if (rows == R) block<R>(arguments...);
    else block_of<R - 1>(rows, arguments...);
  }
}

static void multiply(const Plan& plan, const Product& product, char* const* at) {
  if (!product.weight) return;
  const Int inputs = product.inputs, outputs = product.outputs, parts = (plan.rows + ROWS - 1) / ROWS;
  const Real* a = reinterpret_cast<const Real*>(at[product.from]);
  Real* c = reinterpret_cast<Real*>(at[product.to]);
#pragma omp parallel for num_threads(plan.threads) if (plan.threads > 1)
  for (Int column = 0; column < outputs; column += COLUMNS)
    for (Int part = 0; part < parts; part++) {
      const Int first = plan.rows * part / parts, rows = plan.rows * (part + 1) / parts - first;
      block_of(rows, a + first * inputs, inputs, product.weight + column * inputs, c + first * outputs + column,
               outputs, bool(product.added), std::min<Int>(COLUMNS, outputs - column));
    }
}

template <class>
using Pointer = void*;

template <std::size_t... I>
static void call_with(Int kernel, void** arguments, std::index_sequence<I...>) {
  reinterpret_cast<void (*)(Pointer<std::integral_constant<std::size_t, I>>...)>(kernel)(arguments[I]...);
}

template <int N = MOST_ARGUMENTS>
static void call(Int kernel, Int count, void** arguments) {
  if (count == N) call_with(kernel, arguments, std::make_index_sequence<N>());
  else if constexpr (N > 1) call<N - 1>(kernel, count, arguments);
}

static void run_kernels(const Plan& plan, char* const* at) {
  for (const Int* word = plan.calls; word < plan.calls + plan.words;) {
    const Int kernel = *word++, count = *word++;
    void* arguments[MOST_ARGUMENTS];
    for (Int i = 0; i < count; i++, word += 2) arguments[i] = at[word[0]] + word[1];
    call(kernel, count, arguments);
  }
}

extern "C" {

Int most_arguments() { return MOST_ARGUMENTS; }

Int packed_size(Int inputs, Int outputs) { return (outputs + COLUMNS - 1) / COLUMNS * COLUMNS * inputs; }

// A weight in panels of COLUMNS outputs, the last filled up with zeros.
void pack(const Real* weight, Int inputs, Int outputs, Int input_stride, Int output_stride, Real* packed) {
  for (Int first = 0; first < outputs; first += COLUMNS)
    for (Int k = 0; k < inputs; k++)
      for (Int j = first; j < first + COLUMNS; j++)
        *packed++ = j < outputs ? weight[k * input_stride + j * output_stride] : Real(0);
}

void forward(const Plan& plan) {
  for (Int t = 0; t < plan.steps; t++) {
    char* const* at = plan.pointers + t * plan.columns;
    const bool* reset = plan.resets ? plan.resets + t * plan.rows : nullptr;
    if (reset && std::any_of(reset, reset + plan.rows, [](bool r) { return r; }))
      for (const Reset* part = plan.parts; part < plan.parts + plan.num_parts; part++)
        for (Int row = 0; row < plan.rows; row++) {
          const Real* from = reset[row] ? part->initial : reinterpret_cast<const Real*>(at[part->from]);
          std::memcpy(reinterpret_cast<Real*>(at[part->to]) + row * part->width, from + row * part->width,
                      part->width * sizeof(Real));
        }
    multiply(plan, plan.recurrent, at);
    run_kernels(plan, at);
    multiply(plan, plan.projection, at);
    if (plan.projection.weight) {
      Real *y = reinterpret_cast<Real*>(at[plan.projection.to]), clip = plan.clip;
      // Comparisons that keep a NaN.
      for (Int i = 0; i < plan.rows * plan.projection.outputs; i++)
        y[i] = y[i] < -clip ? -clip : y[i] > clip ? clip : y[i];
    }
  }
}

void backward(const Plan& plan) {
  for (Int t = plan.steps; t-- > 0;) {
    char* const* at = plan.pointers + t * plan.columns;
    if (plan.projection.weight) {
      const Real *y = reinterpret_cast<Real*>(at[plan.y]), *d_y = reinterpret_cast<Real*>(at[plan.d_y]);
      const Real* d_carried = reinterpret_cast<Real*>(at[plan.d_carried]);
      Real *d = reinterpret_cast<Real*>(at[plan.projection.from]), clip = plan.clip;
      for (Int i = 0; i < plan.rows * plan.projection.inputs; i++)
        d[i] = std::abs(y[i]) >= clip ? Real(0) : d_y[i] + d_carried[i];
    }
    multiply(plan, plan.projection, at);
    run_kernels(plan, at);
    multiply(plan, plan.recurrent, at);
    for (Int row = 0; plan.resets && row < plan.rows; row++) {
      if (!plan.resets[t * plan.rows + row]) continue;
      for (const Reset* part = plan.parts; part < plan.parts + plan.num_parts; part++) {
        Real* d = reinterpret_cast<Real*>(at[part->from]) + row * part->width;
        for (Int i = 0; part->initial && i < part->width; i++) part->initial[row * part->width + i] += d[i];
        std::fill(d, d + part->width, Real(0));
      }
    }
  }
}
}
