/* Each lane has 128 bits of state, and takes every fourth word in a step that loses nothing: for
 * a given word the state after it tells the state before, and for a given state before the one
 * after tells the word.  So a difference never dies inside a lane by itself; another word would
 * have to cancel both halves of it, one of which is a product.
 *
 * The lanes know nothing of each other until the end, so that their multiplications overlap. */
#include "digest.h"

#include <string.h>

/* Odd; the golden ratio's fraction. */
#define FACTOR UINT64_C(0x9e3779b97f4a7c15)

enum { FINAL_STEPS = 4 };

/* Fractions of the square roots of the first primes: different for each lane, and not zero. */
static const uint64_t start[2 * ISLES_DIGEST_LANES] = {
    UINT64_C(0x6a09e667f3bcc908), UINT64_C(0xbb67ae8584caa73b), UINT64_C(0x3c6ef372fe94f82b),
    UINT64_C(0xa54ff53a5f1d36f1), UINT64_C(0x510e527fade682d1), UINT64_C(0x9b05688c2b3e6c1f),
    UINT64_C(0x1f83d9abfb41bd6b), UINT64_C(0x5be0cd19137e2179),
};

/* Both halves of a product: the low one alone would carry no bit downwards. */
static inline uint64_t
fold(uint64_t word)
{
    unsigned __int128 product = (unsigned __int128)word * FACTOR;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static inline void
step(uint64_t lane[2], uint64_t word)
{
    uint64_t second = lane[0] + fold(lane[1] ^ word);
    lane[0] = lane[1] + word;
    lane[1] = second;
}

static inline uint64_t
load(const unsigned char *bytes)
{
    uint64_t word;
    memcpy(&word, bytes, sizeof(word));
    return word;
}

/* The state is copied, so that the compiler keeps it in registers. */
static void
take_stripes(uint64_t state[2 * ISLES_DIGEST_LANES], const unsigned char *bytes, size_t stripes)
{
    uint64_t lanes[2 * ISLES_DIGEST_LANES];
    memcpy(lanes, state, sizeof(lanes));
    for (; stripes > 0; stripes--, bytes += ISLES_DIGEST_STRIPE) {
        step(&lanes[0], load(bytes));
        step(&lanes[2], load(bytes + 8));
        step(&lanes[4], load(bytes + 16));
        step(&lanes[6], load(bytes + 24));
    }
    memcpy(state, lanes, sizeof(lanes));
}

void
isles_digest_init(struct isles_digester *digester)
{
    memcpy(digester->state, start, sizeof(start));
    digester->size = 0;
}

void
isles_digest_update(struct isles_digester *digester, const void *bytes, size_t count)
{
    const unsigned char *at = bytes;
    size_t filled = digester->size % ISLES_DIGEST_STRIPE;
    if (count == 0) {
        return; /* `bytes` may be NULL then */
    }
    digester->size += count;
    if (filled > 0) {
        size_t more = ISLES_DIGEST_STRIPE - filled;
        if (count < more) {
            more = count;
        }
        memcpy(digester->rest + filled, at, more);
        at += more;
        count -= more;
        if (filled + more < ISLES_DIGEST_STRIPE) {
            return;
        }
        take_stripes(digester->state, digester->rest, 1);
    }
    take_stripes(digester->state, at, count / ISLES_DIGEST_STRIPE);
    at += count - count % ISLES_DIGEST_STRIPE;
    if (count % ISLES_DIGEST_STRIPE > 0) {
        memcpy(digester->rest, at, count % ISLES_DIGEST_STRIPE);
    }
}

struct isles_digest
isles_digest_final(const struct isles_digester *digester)
{
    uint64_t lanes[2 * ISLES_DIGEST_LANES];
    unsigned char last[ISLES_DIGEST_STRIPE] = {0}; /* the size tells zeroes from nothing */
    memcpy(last, digester->rest, digester->size % ISLES_DIGEST_STRIPE);
    memcpy(lanes, digester->state, sizeof(lanes));
    take_stripes(lanes, last, 1);

    uint64_t mixed[2] = {digester->size, FACTOR};
    for (size_t i = 0; i < 2 * ISLES_DIGEST_LANES; i++) {
        step(mixed, lanes[i]);
    }
    for (size_t i = 0; i < FINAL_STEPS; i++) {
        step(mixed, start[i]);
    }
    return (struct isles_digest){{mixed[0], mixed[1]}};
}

struct isles_digest
isles_digest_of(const void *bytes, size_t count)
{
    struct isles_digester digester;
    isles_digest_init(&digester);
    isles_digest_update(&digester, bytes, count);
    return isles_digest_final(&digester);
}

void
isles_digest_hex(struct isles_digest digest, char text[ISLES_DIGEST_HEX + 1])
{
    static const char digits[] = "0123456789abcdef";
    for (int i = 0; i < ISLES_DIGEST_HEX; i++) {
        text[i] = digits[digest.words[i / 16] >> (60 - i % 16 * 4) & 15];
    }
    text[ISLES_DIGEST_HEX] = '\0';
}
