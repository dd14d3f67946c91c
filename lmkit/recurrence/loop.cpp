// The steps of a window of a gated cell, forward and backward, in one call each; and the gradients of its weights.
//
// native.py puts `using Real = float;` or `double` and `constexpr bool INTEL` before this text, compiles it with the
// compiler and the settings of the cell's kernels, and fills in Plan. The kernels are those that inductor wrote; here
// are only the loop, the products, the clip of a projection, and the resets.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <memory>
#include <utility>

using Int = int64_t;

// A block of a product, ROWS by COLUMNS, is summed in registers: 24 of 32 vectors of AVX-512, 12 of 16 of AVX2. Each
// step of the sum loads WIDE vectors of the weight and broadcasts ROWS numbers. Processors that begin two products of
// 64 bytes in a cycle, as Intel's do, cannot load a number for each: there a block is wide instead of high.
#ifdef __AVX512F__
constexpr int BYTES = 64, ROWS = INTEL ? 8 : 24, WIDE = INTEL ? 3 : 1;
#else
constexpr int BYTES = 32, ROWS = 12, WIDE = 1;
#endif
constexpr int LANES = BYTES / sizeof(Real), COLUMNS = WIDE * LANES;
constexpr int UNIT = 4;  // ROWS and the rows of smaller blocks are multiples of it
typedef Real Vector __attribute__((vector_size(BYTES)));
typedef Real HalfVector __attribute__((vector_size(BYTES / 2)));

constexpr int MOST_ARGUMENTS = 80;

struct Product {
  const Real *weight, *bias;  // the weight as `pack` lays it out; null: there is no such product, or no bias
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
  Product input, recurrent, projection;
  double clip;
  Int y, d_y, d_carried;  // columns: a projected output, its gradient from the loss, and that from the later step
  const bool* resets;  // (steps, rows); null: there are none
  const Reset* parts;
  Int num_parts;
};

// to[k * width + n] = from[n * n_stride + k * k_stride] for n < count, and zeros up to `width`.
static void interleave(const Real* from, Int count, Int n_stride, Int k_stride, Int depth, Int width, Real* to) {
  typedef Real Group __attribute__((vector_size(UNIT * sizeof(Real))));
  Int n = 0;
  if (k_stride == 1)
    for (; n + UNIT <= count; n += UNIT)
      for (Int k = 0; k < depth; k++) {
        const Real* at = from + n * n_stride + k;
        const Group group = {at[0], at[n_stride], at[2 * n_stride], at[3 * n_stride]};
        std::memcpy(to + k * width + n, &group, sizeof group);
      }
  else if (n_stride == 1)
    for (; n + UNIT <= count; n += UNIT)
      for (Int k = 0; k < depth; k++)
        std::memcpy(to + k * width + n, from + k * k_stride + n, sizeof(Group));
  for (; n < width; n++)
    for (Int k = 0; k < depth; k++) to[k * width + n] = n < count ? from[n * n_stride + k * k_stride] : Real(0);
}

// Rows of a block: all of them in order are cut into parts of at most ROWS, in units of UNIT unless there are fewer.
struct Part {
  Int first, rows, padded;
  Part(Int part, Int parts, Int all) {
    const Int units = (all + UNIT - 1) / UNIT;
    if (all < UNIT) {
      first = 0, padded = rows = all;
      return;
    }
    first = units * part / parts * UNIT;
    padded = units * (part + 1) / parts * UNIT - first;
    rows = std::min(padded, all - first);
  }
  static Int count(Int all) { return (all + ROWS - 1) / ROWS; }
};

// c = base + a w for R rows and WIDE vectors of outputs; a (depth, R), w (depth, COLUMNS). base may be c, or null.
template <class V, int R>
__attribute__((noinline)) static void block(const Real* a, Int depth, const Real* w, const Real* base,
                                            Int base_stride, Real* c, Int c_stride) {
  constexpr int lanes = sizeof(V) / sizeof(Real);
  V sums[R][WIDE] = {};
  if (base)
#pragma GCC unroll 24
    for (int r = 0; r < R; r++)
#pragma GCC unroll 3
      for (int q = 0; q < WIDE; q++) std::memcpy(&sums[r][q], base + r * base_stride + q * lanes, sizeof(V));
  // The next block writes there. Without this, a product that fits no cache would wait for memory at each block.
#pragma GCC unroll 24
  for (int r = 0; r < R; r++) __builtin_prefetch(c + r * c_stride + COLUMNS, 1);
  for (Int k = 0; k < depth; k++, a += R, w += COLUMNS) {
#pragma GCC unroll 3
    for (int q = 0; q < WIDE; q++) {
      V column;
      std::memcpy(&column, w + q * lanes, sizeof(V));
      __builtin_prefetch(w + q * lanes + 16 * COLUMNS);
#pragma GCC unroll 24
      for (int r = 0; r < R; r++) sums[r][q] += a[r] * column;
    }
  }
#pragma GCC unroll 24
  for (int r = 0; r < R; r++)
#pragma GCC unroll 3
    for (int q = 0; q < WIDE; q++) std::memcpy(c + r * c_stride + q * lanes, &sums[r][q], sizeof(V));
}

template <class V, std::size_t... I>
static auto block_of(Int rows, std::index_sequence<I...>) {
  static constexpr decltype(&block<V, 1>) few[] = {block<V, 1>, block<V, 2>, block<V, 3>};
  static constexpr decltype(&block<V, 1>) blocks[] = {block<V, UNIT*(I + 1)>...};
  return rows < UNIT ? few[rows - 1] : blocks[rows / UNIT - 1];
}

// Any block, of which `columns` are left at the right of the matrix. One that reaches over an edge is computed apart.
static void any_block(const Part& part, const Real* a, Int depth, const Real* w, const Real* base, Int base_stride,
                      Real* c, Int c_stride, Int columns) {
  constexpr std::make_index_sequence<ROWS / UNIT> sizes{};
  const bool half = 2 * columns <= COLUMNS;
  const Int width = half ? COLUMNS / 2 : COLUMNS;
  const auto run = half ? block_of<HalfVector>(part.padded, sizes) : block_of<Vector>(part.padded, sizes);
  if (part.rows == part.padded && columns >= width) return run(a, depth, w, base, base_stride, c, c_stride);
  Real whole[ROWS * COLUMNS];
  run(a, depth, w, nullptr, 0, whole, width);
  for (Int row = 0; row < part.rows; row++)
    for (Int j = 0; j < std::min(columns, width); j++)
      c[row * c_stride + j] = whole[row * width + j] + (base ? base[row * base_stride + j] : Real(0));
}

// The rows of a step beside one another, part by part; `to` has room for the padded rows.
static void pack_rows(const Real* a, Int rows, Int inputs, Real* to) {
  const Int parts = Part::count(rows);
  for (Int p = 0; p < parts; p++) {
    const Part part(p, parts, rows);
    interleave(a + part.first * inputs, part.rows, inputs, 1, inputs, part.padded, to + part.first * inputs);
  }
}

static void multiply(const Plan& plan, const Product& product, char* const* at, const Real* packed) {
  const Int inputs = product.inputs, outputs = product.outputs, parts = Part::count(plan.rows);
  Real* c = reinterpret_cast<Real*>(at[product.to]);
  const Real* base = product.added ? c : product.bias;
  const Int base_stride = product.added ? outputs : 0;
#pragma omp parallel for num_threads(plan.threads) if (plan.threads > 1)
  for (Int j = 0; j < outputs; j += COLUMNS)
    for (Int p = 0; p < parts; p++) {
      const Part part(p, parts, plan.rows);
      any_block(part, packed + part.first * inputs, inputs, product.weight + j * inputs,
                base ? base + part.first * base_stride + j : nullptr, base_stride, c + part.first * outputs + j,
                outputs, outputs - j);
    }
}

// The products of a step, which share their input where it is the same.
class Products {
 public:
  explicit Products(const Plan& plan) : plan(plan) {
    Int most = 0;
    for (const Product* product : {&plan.input, &plan.recurrent, &plan.projection})
      if (product->weight) most = std::max(most, product->inputs);
    packed.reset(new Real[(plan.rows + UNIT) * most]);
  }

  void run(std::initializer_list<const Product*> products, char* const* at) {
    const Product* last = nullptr;
    for (const Product* product : products) {
      if (!product->weight) continue;
      if (!last || last->from != product->from)
        pack_rows(reinterpret_cast<const Real*>(at[product->from]), plan.rows, product->inputs, packed.get());
      multiply(plan, *product, at, packed.get());
      last = product;
    }
  }

 private:
  const Plan& plan;
  std::unique_ptr<Real[]> packed;
};

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

// A weight in panels of COLUMNS outputs, the last filled up with zeros. It is read as it lies in memory.
void pack(const Real* weight, Int inputs, Int outputs, Int input_stride, Int output_stride, Real* to) {
  const Int some = input_stride == 1 ? inputs : 8;
  for (Int k = 0; k < inputs; k += some)
    for (Int j = 0; j < outputs; j += COLUMNS)
      interleave(weight + k * input_stride + j * output_stride, std::min<Int>(COLUMNS, outputs - j), output_stride,
                 input_stride, std::min(some, inputs - k), COLUMNS, to + j * inputs + k * COLUMNS);
}

// to (width, features) = d' x for each of `count`, from d (rows, width) and x (rows, features): gradients of weights.
void weight_gradients(const Real* d, Int rows, Int width, Int threads, Int count, const Real* const* x,
                      const Int* features, Real* const* to) {
  std::unique_ptr<std::unique_ptr<Real[]>[]> panels(new std::unique_ptr<Real[]>[count]);
  for (Int i = 0; i < count; i++) {
    panels[i].reset(new Real[packed_size(rows, features[i])]);
    pack(x[i], rows, features[i], features[i], 1, panels[i].get());
  }
  const Int parts = Part::count(width);
#pragma omp parallel num_threads(threads) if (threads > 1)
  {
    const std::unique_ptr<Real[]> packed(new Real[ROWS * rows]);
#pragma omp for
    for (Int p = 0; p < parts; p++) {
      const Part part(p, parts, width);
      interleave(d + part.first, part.rows, 1, width, rows, part.padded, packed.get());
      for (Int i = 0; i < count; i++)
        for (Int j = 0; j < features[i]; j += COLUMNS)
          any_block(part, packed.get(), rows, panels[i].get() + j * rows, nullptr, 0,
                    to[i] + part.first * features[i] + j, features[i], features[i] - j);
    }
  }
}

void forward(const Plan& plan) {
  Products products(plan);
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
    products.run({&plan.input, &plan.recurrent}, at);
    run_kernels(plan, at);
    products.run({&plan.projection}, at);
    if (plan.projection.weight) {
      Real *y = reinterpret_cast<Real*>(at[plan.projection.to]), clip = plan.clip;
      // Comparisons that keep a NaN.
      for (Int i = 0; i < plan.rows * plan.projection.outputs; i++)
        y[i] = y[i] < -clip ? -clip : y[i] > clip ? clip : y[i];
    }
  }
}

void backward(const Plan& plan) {
  Products products(plan);
  for (Int t = plan.steps; t-- > 0;) {
    char* const* at = plan.pointers + t * plan.columns;
    if (plan.projection.weight) {
      const Real *y = reinterpret_cast<Real*>(at[plan.y]), *d_y = reinterpret_cast<Real*>(at[plan.d_y]);
      const Real* d_carried = reinterpret_cast<Real*>(at[plan.d_carried]);
      Real *d = reinterpret_cast<Real*>(at[plan.projection.from]), clip = plan.clip;
      for (Int i = 0; i < plan.rows * plan.projection.inputs; i++)
        d[i] = std::abs(y[i]) >= clip ? Real(0) : d_y[i] + d_carried[i];
    }
    products.run({&plan.projection}, at);
    run_kernels(plan, at);
    products.run({&plan.recurrent, &plan.input}, at);
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
