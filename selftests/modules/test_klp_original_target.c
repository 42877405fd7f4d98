// SPDX-License-Identifier: GPL-2.0
/*
 * The target of test_klp_original: functions whose arguments or answer do not fit into registers. Parameters:
 *
 *   sum  read: what test_original_sum() says of 1 to 9
 *   big  read: what test_original_big() makes of 5
 */

#include <linux/compiler.h>
#include <linux/module.h>

struct test_original_numbers {
	u64 n[5];
};

u64 test_original_sum(u64 a, u64 b, u64 c, u64 d, u64 e, u64 f, u64 g, u64 h, u64 i);
struct test_original_numbers test_original_big(u64 first);

/* Three arguments are on the stack. */
noinline u64 test_original_sum(u64 a, u64 b, u64 c, u64 d, u64 e, u64 f, u64 g, u64 h, u64 i)
{
	barrier();
	return a + 2 * b + 3 * c + 4 * d + 5 * e + 6 * f + 7 * g + 8 * h + 9 * i;
}

/* The answer is where a hidden argument says. */
noinline struct test_original_numbers test_original_big(u64 first)
{
	struct test_original_numbers numbers;
	int i;

	barrier();
	for (i = 0; i < ARRAY_SIZE(numbers.n); i++)
		numbers.n[i] = first + i;
	return numbers;
}

/* A compiler that knew the arguments would call a copy made for them. */
static u64 one = 1;

static int get_sum(char *buffer, const struct kernel_param *kp)
{
	u64 n = READ_ONCE(one);

	return sysfs_emit(buffer, "%llu\n",
			  test_original_sum(n, n + 1, n + 2, n + 3, n + 4, n + 5, n + 6, n + 7, n + 8));
}

static const struct kernel_param_ops sum_ops = {
	.get = get_sum,
};
module_param_cb(sum, &sum_ops, NULL, 0444);
MODULE_PARM_DESC(sum, "the sum of the squares of 1 to 9");

static int get_big(char *buffer, const struct kernel_param *kp)
{
	struct test_original_numbers numbers = test_original_big(READ_ONCE(one) + 4);

	return sysfs_emit(buffer, "%llu %llu %llu %llu %llu\n", numbers.n[0], numbers.n[1], numbers.n[2],
			  numbers.n[3], numbers.n[4]);
}

static const struct kernel_param_ops big_ops = {
	.get = get_big,
};
module_param_cb(big, &big_ops, NULL, 0444);
MODULE_PARM_DESC(big, "five numbers from 5 on");

static int __init test_klp_original_target_init(void)
{
	return 0;
}

static void __exit test_klp_original_target_exit(void)
{
}

module_init(test_klp_original_target_init);
module_exit(test_klp_original_target_exit);
MODULE_AUTHOR("The livepatch cookbook");
MODULE_DESCRIPTION("Livepatch test: functions whose arguments or answer do not fit into registers");
MODULE_LICENSE("GPL");
