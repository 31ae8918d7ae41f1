/* A fast 128-bit digest of bytes, to name what is on disk and to notice damage.
 *
 * It is not cryptographic: who wants two inputs of the same digest can make them.  That is enough
 * for the cache (cache.h).  The folder is the user's own and nobody else can write there, and what
 * is hashed is code that the user is about to run anyway: who can choose it needs no collision.
 * What it has to catch is change and accident: two inputs that differ by chance have the same
 * digest with a probability of about 2**-128.
 *
 * The same bytes give the same digest on one kind of machine; it depends on the byte order and
 * never leaves the machine.  A digester has one owner, one thread at a time.  Nothing here fails
 * or allocates. */
#ifndef ISLES_DIGEST_H
#define ISLES_DIGEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ISLES_DIGEST_LANES 4
#define ISLES_DIGEST_STRIPE (ISLES_DIGEST_LANES * sizeof(uint64_t))
#define ISLES_DIGEST_HEX 32 /* characters, without the NUL */

struct isles_digest {
    uint64_t words[2];
};

struct isles_digester {
    uint64_t state[2 * ISLES_DIGEST_LANES];  /* of whole stripes */
    uint64_t size;                           /* of all bytes so far */
    unsigned char rest[ISLES_DIGEST_STRIPE]; /* the last `size % ISLES_DIGEST_STRIPE` of them */
};

void isles_digest_init(struct isles_digester *digester);

/* Adds bytes; how they are cut into calls makes no difference. */
void isles_digest_update(struct isles_digester *digester, const void *bytes, size_t count);

/* The digest of all bytes added; more may follow. */
struct isles_digest isles_digest_final(const struct isles_digester *digester);

/* All at once. */
struct isles_digest isles_digest_of(const void *bytes, size_t count);

/* Writes it as lowercase hexadecimal, with a NUL. */
void isles_digest_hex(struct isles_digest digest, char text[ISLES_DIGEST_HEX + 1]);

static inline bool
isles_digest_equal(struct isles_digest a, struct isles_digest b)
{
    return a.words[0] == b.words[0] && a.words[1] == b.words[1];
}

#endif
