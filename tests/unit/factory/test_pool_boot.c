/* Claims that no template fits, and those that a machine has to grow for. */
#include "tests/unit/factory/pool_fixture.h"

static struct vm_size fake_host(void)
{
	return (struct vm_size){ 4, 8192 };
}

static void open_with_boots(struct fixture *f, uint64_t boots)
{
	f->room.max_boots = boots;
	f->room.host_size = fake_host;
	pool_open(f->pool, &f->manifest);
	park_all(f);
}

static int claim_boot(struct fixture *f, const char *sandbox, uint32_t vcpus, uint32_t memory_mib,
		      struct pool_ticket **ret_ticket)
{
	const struct vm_size size = { vcpus, memory_mib };
	const struct pool_request request = { .sandbox_id = sandbox, .size = size, .boot = &size };

	int r = claim_request(f, &request, ret_ticket);
	settle(f);
	return r;
}

static struct vm *booting_vm(void)
{
	for (unsigned i = 0; i < vms_made; i++)
		if (vms[i] && vms[i]->options.boot)
			return vms[i];
	fail_msg("nothing is being booted");
	return NULL;
}

static void booted_for_its_claim_alone(void **state)
{
	struct fixture *f = *state;

	open_with_boots(f, 1);
	assert_int_equal(claim_boot(f, "s1", 4, 1024, NULL), 0);
	assert_int_equal(counts(f).parked, 2);
	assert_int_equal(counts(f).coming, 1);
	assert_int_equal(counts(f).waiting, 0);
	assert_int_equal(f->room.boots, 1);
	assert_int_equal(claim(f, "s1", NULL), -EEXIST);
	assert_int_equal(booting_vm()->boot.memory_mib, 1024);
	/* Others are served from the pool meanwhile. */
	assert_int_equal(claim(f, "s2", NULL), 0);
	settle(f);
	assert_int_equal(f->granted, 1);
	assert_int_equal(f->booted, 0);

	vm_becomes(booting_vm(), VM_WARMING, "");
	vm_becomes(booting_vm(), VM_PARKED, "");
	settle(f);
	assert_int_equal(f->booted, 1);
	assert_string_equal(f->reason, "no template fits");
	assert_string_equal(vm_sandbox_id(pool_member_vm(f->last)), "s1");
	assert_string_equal(pool_member_origin(f->last), "booted");
	assert_int_equal(f->room.boots, 0);
	assert_int_equal(counts(f).claimed, 2);
	assert_int_equal(counted(f, COUNTER_CLAIMS_BOOTED, "no template fits"), 1);
	assert_int_equal(counted(f, COUNTER_CLAIMS_GROWN, ""), 0);
	assert_int_equal(counted(f, COUNTER_CLONES_PARKED, ""), 2);
}

static void a_failed_boot_is_not_the_clones_failure(void **state)
{
	struct fixture *f = *state;

	open_with_boots(f, 1);
	assert_int_equal(claim_boot(f, "s1", 1, 1024, NULL), 0);
	vm_becomes(booting_vm(), VM_GONE, "it panicked");
	settle(f);
	assert_int_equal(f->failed, 1);
	assert_string_equal(f->error,
			    "no template fits, and the machine booted instead failed: it panicked");
	assert_null(pool_failure(f->pool));
	assert_int_equal(counted(f, COUNTER_CLAIMS_FAILED, "boot failed"), 1);
	assert_int_equal(f->room.boots, 0);

	clones_refused = 1;
	assert_int_equal(claim_boot(f, "s1", 1, 1024, NULL), -EIO);
	assert_int_equal(counted(f, COUNTER_CLAIMS_FAILED, "boot failed"), 2);
	assert_int_equal(f->room.boots, 0);
}

static void a_claimer_that_goes_takes_the_boot_along(void **state)
{
	struct fixture *f = *state;
	struct pool_ticket *ticket;

	open_with_boots(f, 1);
	assert_int_equal(claim_boot(f, "s1", 1, 1024, &ticket), 0);
	pool_cancel(ticket);
	settle(f);
	assert_int_equal(counts(f).coming, 0);
	assert_int_equal(f->room.boots, 0);
	assert_int_equal(f->granted + f->failed, 0);
}

static void the_templates_end_ends_its_boots(void **state)
{
	struct fixture *f = *state;

	open_with_boots(f, 1);
	assert_int_equal(claim_boot(f, "s1", 1, 1024, NULL), 0);
	pool_close(f->pool, "destroyed", NULL, NULL);
	settle(f);
	assert_int_equal(f->failed, 1);
	assert_int_equal(counts(f).coming, 0);
}

static void freed_with_a_boot_under_way(void **state)
{
	struct fixture *f = *state;

	open_with_boots(f, 1);
	assert_int_equal(claim_boot(f, "s1", 1, 1024, NULL), 0);
	/* teardown frees the pool; the claim is answered */
}

static void refused_at_once(void **state)
{
	struct fixture *f = *state;

	open_with_boots(f, 1);
	assert_int_equal(claim_boot(f, "s1", 5, 256, NULL), -EINVAL);
	assert_string_equal(f->error, "no template fits 5 vCPUs and 256 MiB, and the host has no "
				      "more than 4 and 8192");
	assert_int_equal(claim_boot(f, "s1", 1, 9000, NULL), -EINVAL);
	assert_int_equal(counted(f, COUNTER_CLAIMS_FAILED, "larger than the host"), 2);
	assert_int_equal(claim_boot(f, "s1", 1, 4097, NULL), -EAGAIN);
	assert_int_equal(counted(f, COUNTER_CLAIMS_FAILED, "no memory to boot"), 1);
	f->room.min_free_mib = 100;
	assert_int_equal(claim_boot(f, "s1", 1, 4000, NULL), -EAGAIN);
	assert_int_equal(claim_boot(f, "s1", 1, 3996, NULL), 0);
	assert_int_equal(claim_boot(f, "s2", 1, 512, NULL), -EAGAIN);
	assert_int_equal(counted(f, COUNTER_CLAIMS_FAILED, "boots_at_once"), 1);
	f->room.max_boots = 2;
	f->room.max_vms = 3;
	assert_int_equal(claim_boot(f, "s2", 1, 512, NULL), -EAGAIN);
	assert_int_equal(counted(f, COUNTER_CLAIMS_FAILED, "max_vms"), 1);
}

static void maxima_of_the_configuration(void **state)
{
	struct fixture *f = *state;
	_cleanup_(error_done) struct error err = {};

	/* None: the host's size. */
	f->room.host_size = fake_host;
	assert_int_equal(host_room_check_size(&f->room, &(struct vm_size){ 4, 8192 }, NULL), 0);
	assert_int_equal(host_room_check_size(&f->room, &(struct vm_size){ 5, 0 }, &err), -EINVAL);
	assert_string_equal(error_message(&err), "5 vCPUs are wanted, and a claim gets 4 at most "
						 "(the host has no more)");
	assert_int_equal(host_room_check_size(&f->room, &(struct vm_size){ 0, 8193 }, &err),
			 -EINVAL);
	error_done(&err);
	f->room.max_size = (struct vm_size){ 2, 1024 };
	assert_int_equal(host_room_check_size(&f->room, &(struct vm_size){ 2, 1024 }, NULL), 0);
	assert_int_equal(host_room_check_size(&f->room, &(struct vm_size){ 3, 0 }, &err), -EINVAL);
	assert_string_equal(error_message(&err),
			    "3 vCPUs are wanted, and a claim gets 2 at most (max_vcpus)");
	assert_int_equal(host_room_check_size(&f->room, &(struct vm_size){ 0, 1025 }, &err),
			 -EINVAL);
}

static void sizes_reach_the_machine(void **state)
{
	const struct pool_request request = { .sandbox_id = "s1", .size = { 2, 0 } };
	struct fixture *f = *state;
	struct pool_ticket *ticket;

	open_with_boots(f, 0);
	assert_int_equal(pool_claim(f->pool, &request, on_claim, f, &ticket, NULL), 0);
	settle(f);
	assert_int_equal(f->granted, 1);
	assert_int_equal(pool_member_vm(f->last)->claimed_size.vcpus, 2);
	assert_int_equal(counted(f, COUNTER_CLAIMS_GROWN, ""), 1);
	assert_int_equal(counted(f, COUNTER_CLAIMS_POOLED, ""), 1);
	assert_int_equal(claim(f, "s2", NULL), 0);
	settle(f);
	assert_int_equal(counted(f, COUNTER_CLAIMS_GROWN, ""), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		POOL_TEST(booted_for_its_claim_alone),
		POOL_TEST(a_failed_boot_is_not_the_clones_failure),
		POOL_TEST(a_claimer_that_goes_takes_the_boot_along),
		POOL_TEST(the_templates_end_ends_its_boots),
		POOL_TEST(freed_with_a_boot_under_way),
		POOL_TEST(refused_at_once),
		POOL_TEST(maxima_of_the_configuration),
		POOL_TEST(sizes_reach_the_machine),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
