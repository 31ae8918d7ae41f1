int plain_count(void);
int module_plain(void);

int
module_plain(void)
{
    return plain_count();
}
