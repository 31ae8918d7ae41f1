/* The digest: every bit counts, wherever it is; how the bytes are cut into calls does not. */
#include <string.h>

#include "check.h"
#include "digest.h"

static uint32_t seed = 2463534242u;

static void
fill(unsigned char *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        bytes[i] = (unsigned char)(random_next(&seed) >> 11);
    }
}

static int
bits_changed(struct isles_digest a, struct isles_digest b)
{
    return __builtin_popcountll(a.words[0] ^ b.words[0])
           + __builtin_popcountll(a.words[1] ^ b.words[1]);
}

static int
compare(const void *left, const void *right)
{
    return memcmp(left, right, sizeof(struct isles_digest));
}

static void
check_all_differ(struct isles_digest *digests, size_t count)
{
    qsort(digests, count, sizeof(*digests), compare);
    for (size_t i = 1; i < count; i++) {
        CHECK(!isles_digest_equal(digests[i - 1], digests[i]));
    }
}

static int
compare_words(const void *left, const void *right)
{
    uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
    return (a > b) - (a < b);
}

/* Neither half is a weak one: 64 bits are enough for a million inputs. */
static void
check_halves_differ(const struct isles_digest *digests, size_t count)
{
    uint64_t *words = malloc(count * sizeof(*words));
    CHECK(words != NULL);
    for (int half = 0; half < 2; half++) {
        for (size_t i = 0; i < count; i++) {
            words[i] = digests[i].words[half];
        }
        qsort(words, count, sizeof(*words), compare_words);
        for (size_t i = 1; i < count; i++) {
            CHECK(words[i - 1] != words[i]);
        }
    }
    free(words);
}

/* ---- avalanche ---- */

enum { LONGEST = 300 };

static long changed[128]; /* how often each bit of the digest did */
static long flips;

static void
flip_each_bit(unsigned char *bytes, size_t count)
{
    static struct isles_digest seen[LONGEST * 8 + 1];
    struct isles_digest before = isles_digest_of(bytes, count);
    long sum = 0;
    for (size_t bit = 0; bit < count * 8; bit++) {
        bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
        struct isles_digest after = seen[bit] = isles_digest_of(bytes, count);
        bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
        int bits = bits_changed(before, after);
        CHECK(bits > 20 && bits < 108); /* eight standard deviations */
        sum += bits;
        for (int i = 0; i < 128; i++) {
            changed[i] += (before.words[i / 64] ^ after.words[i / 64]) >> i % 64 & 1;
        }
    }
    seen[count * 8] = before;
    check_all_differ(seen, count * 8 + 1);
    flips += (long)count * 8;
    CHECK(count < 16 || (sum > (long)count * 8 * 61 && sum < (long)count * 8 * 67));
}

static void
test_avalanche(void)
{
    unsigned char bytes[LONGEST];
    for (size_t count = 1; count < LONGEST; count += count < 70 ? 1 : 13) {
        memset(bytes, 0, sizeof(bytes));
        flip_each_bit(bytes, count);
        memset(bytes, 0xff, sizeof(bytes));
        flip_each_bit(bytes, count);
        fill(bytes, count);
        flip_each_bit(bytes, count);
    }
    for (int i = 0; i < 128; i++) {
        CHECK(changed[i] > flips * 49 / 100 && changed[i] < flips * 51 / 100);
    }
}

/* ---- collisions ---- */

static void
test_short_inputs(void)
{
    enum { COUNT = 1000000 };
    struct isles_digest *digests = malloc(COUNT * sizeof(*digests));
    CHECK(digests != NULL);
    for (uint32_t i = 0; i < COUNT; i++) { /* the plainest: counted */
        digests[i] = isles_digest_of(&i, sizeof(i));
    }
    check_all_differ(digests, COUNT);
    size_t count = 0; /* every input of up to two bytes, and random ones of 3 to 40 */
    digests[count++] = isles_digest_of("", 0);
    for (unsigned i = 0; i < 256; i++) {
        digests[count++] = isles_digest_of(&(unsigned char){(unsigned char)i}, 1);
    }
    for (unsigned i = 0; i < 65536; i++) {
        digests[count++] = isles_digest_of(&(uint16_t){(uint16_t)i}, 2);
    }
    for (; count < COUNT; count++) {
        unsigned char bytes[40];
        fill(bytes, sizeof(bytes));
        memcpy(bytes, &(uint32_t){(uint32_t)count * 256 + 1}, 4);
        digests[count] = isles_digest_of(bytes, 4 + count % 37);
    }
    check_all_differ(digests, COUNT);
    check_halves_differ(digests, COUNT);
    free(digests);
}

static void
test_zeroes_of_each_length(void)
{
    enum { COUNT = 5000 };
    static const unsigned char zeroes[COUNT];
    static struct isles_digest digests[COUNT];
    for (size_t i = 0; i < COUNT; i++) {
        digests[i] = isles_digest_of(zeroes, i);
    }
    check_all_differ(digests, COUNT);
}

/* Two bits in any two words: what one difference does to a lane, another must not undo. */
static void
test_pairs_of_bits(void)
{
    enum { SIZE = 96, BITS = SIZE * 8 };
    static struct isles_digest digests[BITS * (BITS - 1) / 2];
    unsigned char bytes[SIZE] = {0};
    size_t count = 0;
    for (size_t i = 0; i < BITS; i++) {
        bytes[i / 8] ^= (unsigned char)(1 << i % 8);
        for (size_t j = 0; j < i; j++) {
            bytes[j / 8] ^= (unsigned char)(1 << j % 8);
            digests[count++] = isles_digest_of(bytes, SIZE);
            bytes[j / 8] ^= (unsigned char)(1 << j % 8);
        }
        bytes[i / 8] ^= (unsigned char)(1 << i % 8);
    }
    check_all_differ(digests, count);
}

static void
test_order_counts(void)
{
    uint64_t words[64];
    static struct isles_digest digests[64 * 63 / 2 + 1];
    size_t count = 0;
    for (uint64_t i = 0; i < 64; i++) {
        words[i] = i;
    }
    digests[count++] = isles_digest_of(words, sizeof(words));
    for (int i = 0; i < 64; i++) {
        for (int j = 0; j < i; j++) {
            uint64_t kept = words[i];
            words[i] = words[j], words[j] = kept;
            digests[count++] = isles_digest_of(words, sizeof(words));
            words[j] = words[i], words[i] = kept;
        }
    }
    check_all_differ(digests, count);
}

/* ---- calls ---- */

static void
test_chunks_do_not_count(void)
{
    static unsigned char bytes[3000];
    fill(bytes, sizeof(bytes));
    for (int i = 0; i < 20000; i++) {
        size_t start = random_next(&seed) % 8; /* also unaligned */
        size_t size = random_next(&seed) % (i % 2 ? 100 : sizeof(bytes) - 8);
        struct isles_digester digester;
        isles_digest_init(&digester);
        for (size_t at = 0; at < size;) {
            size_t count = random_next(&seed) % (i % 3 ? 40 : 400);
            count = count < size - at ? count : size - at;
            isles_digest_update(&digester, bytes + start + at, count);
            at += count;
        }
        CHECK(isles_digest_equal(isles_digest_final(&digester),
                                 isles_digest_of(bytes + start, size)));
    }
}

static void
test_goes_on_after_final(void)
{
    struct isles_digester digester;
    isles_digest_init(&digester);
    isles_digest_update(&digester, NULL, 0);
    CHECK(isles_digest_equal(isles_digest_final(&digester), isles_digest_of(NULL, 0)));
    isles_digest_update(&digester, "one", 3);
    isles_digest_update(&digester, NULL, 0);
    CHECK(isles_digest_equal(isles_digest_final(&digester), isles_digest_of("one", 3)));
    isles_digest_update(&digester, "two", 3);
    CHECK(isles_digest_equal(isles_digest_final(&digester), isles_digest_of("onetwo", 6)));
}

static void
test_hex(void)
{
    char text[ISLES_DIGEST_HEX + 1];
    isles_digest_hex((struct isles_digest){{0x0123456789abcdef, 0xfedcba9800000001}}, text);
    CHECK(strcmp(text, "0123456789abcdeffedcba9800000001") == 0);
}

int
main(void)
{
    test_avalanche();
    test_short_inputs();
    test_zeroes_of_each_length();
    test_pairs_of_bits();
    test_order_counts();
    test_chunks_do_not_count();
    test_goes_on_after_final();
    test_hex();
    return 0;
}
