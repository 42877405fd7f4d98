// SPDX-License-Identifier: GPL-2.0
/*
 * Asks dev_valid_name(), or what replaces it, about many names: a read of /proc/test_klp_names gives a line for each, the
 * name's bytes in hex and the verdict.
 *
 * Each name is in a buffer of exactly as many bytes as the function may read, with an unmapped page behind it: to look
 * further is to die.
 */

#include <linux/module.h>
#include <linux/netdevice.h>
#include <linux/proc_fs.h>
#include <linux/seq_file.h>
#include <linux/vmalloc.h>

static char *page;

static void ask(struct seq_file *seq, const char *name, size_t len)
{
	size_t size = min_t(size_t, len + 1, IFNAMSIZ);
	char *at = page + PAGE_SIZE - size;

	memset(at, 0, size);
	memcpy(at, name, min_t(size_t, len, IFNAMSIZ));
	seq_printf(seq, "%*phN %s\n", (int)size, at, dev_valid_name(at) ? "taken" : "refused");
}

static int show(struct seq_file *seq, void *v)
{
	static const char * const words[] = { "", ".", "..", "...", ".a", "a.", "..a", "eth%d", "%", "voil\xc3\xa0" };
	const size_t places[] = { 0, 1, IFNAMSIZ - 2 };
	char name[IFNAMSIZ];
	int byte, i;

	for (i = 0; i < ARRAY_SIZE(words); i++)
		ask(seq, words[i], strlen(words[i]));
	memset(name, 'a', sizeof(name));
	for (i = 1; i <= IFNAMSIZ; i++)
		ask(seq, name, i);
	/* Each byte alone, and first, in the midst and last in the longest name. */
	for (byte = 0; byte < 256; byte++) {
		name[0] = byte;
		ask(seq, name, 1);
		name[0] = 'a';
		for (i = 0; i < ARRAY_SIZE(places); i++) {
			name[places[i]] = byte;
			ask(seq, name, IFNAMSIZ - 1);
			name[places[i]] = 'a';
		}
		/* In the last byte that may be looked at there is no NUL then. */
		name[IFNAMSIZ - 1] = byte;
		ask(seq, name, IFNAMSIZ);
		name[IFNAMSIZ - 1] = 'a';
	}
	return 0;
}

static int __init test_klp_names_init(void)
{
	/* vmalloc() leaves a hole behind each area. */
	page = vzalloc(PAGE_SIZE);
	if (!page)
		return -ENOMEM;
	if (!proc_create_single("test_klp_names", 0400, NULL, show)) {
		vfree(page);
		return -ENOMEM;
	}
	return 0;
}

static void __exit test_klp_names_exit(void)
{
	remove_proc_entry("test_klp_names", NULL);
	vfree(page);
}

module_init(test_klp_names_init);
module_exit(test_klp_names_exit);
MODULE_DESCRIPTION("Livepatch test: which names dev_valid_name() takes");
MODULE_LICENSE("GPL");
