/* Every status has a text of its own; what is none has one as well. */
#include <string.h>

#include "check.h"
#include "status.h"

static void
test_each_has_its_text(void)
{
    for (int i = 0; i < ISLES_STATUS_COUNT; i++) {
        const char *text = isles_status_text(-i);
        CHECK(text != NULL && text[0] != '\0');
        CHECK(strcmp(text, "unknown status") != 0);
        for (int j = 0; j < i; j++) {
            CHECK(strcmp(text, isles_status_text(-j)) != 0);
        }
    }
}

static void
test_out_of_range(void)
{
    static const int none[] = {1, 2, 1000, -ISLES_STATUS_COUNT, -ISLES_STATUS_COUNT - 1, -1000};
    for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
        CHECK(strcmp(isles_status_text(none[i]), "unknown status") == 0);
    }
}

static void
test_what_users_read(void)
{
    CHECK(strstr(isles_status_text(ISLES_BUSY), "already running") != NULL);
    CHECK(strstr(isles_status_text(ISLES_FORKED), "fork") != NULL);
    CHECK(strstr(isles_status_text(ISLES_OK), "success") != NULL);
}

int
main(void)
{
    test_each_has_its_text();
    test_out_of_range();
    test_what_users_read();
    return 0;
}
