#include <stdlib.h>

#include "copies_parts.h"

static const char shareable[] = "shareable"; /* the name of such an entry */

static struct isles_digest
context_key(const struct isles_original *original, unsigned context)
{
    struct isles_digester digester;
    isles_digest_init(&digester);
    unsigned numbers[2] = {ISLES_COPIES_FORMAT, context};
    isles_digest_update(&digester, numbers, sizeof(numbers));
    struct isles_digest data = isles__original_digest(original);
    isles_digest_update(&digester, &data, sizeof(data));
    return isles_digest_final(&digester);
}

bool
isles_copies_is_shareable(const struct isles_original *original, unsigned context)
{
    char *path = NULL;
    bool known = isles__store_find(context_key(original, context), shareable, &path, NULL) == 0;
    free(path);
    return known;
}

void
isles_copies_note_shareable(const struct isles_original *original, unsigned context)
{
    struct isles_cache *opened;
    char *path = NULL;
    if (!isles__store_is_memory() && isles__store_cache(&opened, NULL) == 0) {
        (void)isles_cache_store(opened, context_key(original, context), shareable, "", 0, &path,
                                NULL);
        free(path);
    }
}
