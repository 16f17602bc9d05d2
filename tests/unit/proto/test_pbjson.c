#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/memory.h"
#include "base/strings.h"
#include "proto/agent.pb-c.h"
#include "proto/base64.h"
#include "proto/health.pb-c.h"
#include "proto/pbjson.h"

/* What `runc spec` of runc 1.1 prints; here and below ' stands for ". */
static const char runc_spec[] =
	"{'ociVersion':'1.0.2-dev','process':{'terminal':true,'user':{'uid':0,'gid':0},"
	"'args':['sh'],"
	"'env':['PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',"
	"'TERM=xterm'],'cwd':'/','capabilities':{'bounding':['CAP_AUDIT_WRITE','CAP_KILL',"
	"'CAP_NET_BIND_SERVICE'],'effective':['CAP_AUDIT_WRITE','CAP_KILL',"
	"'CAP_NET_BIND_SERVICE'],'permitted':['CAP_AUDIT_WRITE','CAP_KILL',"
	"'CAP_NET_BIND_SERVICE'],'ambient':['CAP_AUDIT_WRITE','CAP_KILL',"
	"'CAP_NET_BIND_SERVICE']},'rlimits':[{'type':'RLIMIT_NOFILE','hard':1024,"
	"'soft':1024}],'noNewPrivileges':true},'root':{'path':'rootfs','readonly':true},"
	"'hostname':'runc','mounts':[{'destination':'/proc','type':'proc','source':'proc'},"
	"{'destination':'/dev','type':'tmpfs','source':'tmpfs','options':['nosuid',"
	"'strictatime','mode=755','size=65536k']},{'destination':'/dev/pts','type':'devpts',"
	"'source':'devpts','options':['nosuid','noexec','newinstance','ptmxmode=0666',"
	"'mode=0620','gid=5']},{'destination':'/dev/shm','type':'tmpfs','source':'shm',"
	"'options':['nosuid','noexec','nodev','mode=1777','size=65536k']},"
	"{'destination':'/dev/mqueue','type':'mqueue','source':'mqueue','options':['nosuid',"
	"'noexec','nodev']},{'destination':'/sys','type':'sysfs','source':'sysfs',"
	"'options':['nosuid','noexec','nodev','ro']},{'destination':'/sys/fs/cgroup',"
	"'type':'cgroup','source':'cgroup','options':['nosuid','noexec','nodev','relatime',"
	"'ro']}],'linux':{'resources':{'devices':[{'allow':false,'access':'rwm'}]},"
	"'namespaces':[{'type':'pid'},{'type':'network'},{'type':'ipc'},{'type':'uts'},"
	"{'type':'mount'}],'maskedPaths':['/proc/acpi','/proc/asound','/proc/kcore',"
	"'/proc/keys','/proc/latency_stats','/proc/timer_list','/proc/timer_stats',"
	"'/proc/sched_debug','/sys/firmware','/proc/scsi'],'readonlyPaths':['/proc/bus',"
	"'/proc/fs','/proc/irq','/proc/sys','/proc/sysrq-trigger']}}";

static json_t *parse(const char *text)
{
	_cleanup_free_ char *quoted = xstrdup(text);
	_cleanup_(error_done) struct error err = {};
	json_t *json = NULL;

	for (char *c = quoted; *c; c++)
		if (*c == '\'')
			*c = '"';
	if (pbjson_parse(quoted, strlen(quoted), &json, &err) < 0)
		fail_msg("%s", error_message(&err));
	return json;
}

static void *read_as(const ProtobufCMessageDescriptor *descriptor, const char *text)
{
	_cleanup_(error_done) struct error err = {};
	ProtobufCMessage *message = NULL;
	json_t *json = parse(text);

	if (pbjson_to_message(descriptor, json, 0, &message, &err) < 0)
		fail_msg("%s", error_message(&err));
	json_decref(json);
	return message;
}

static void assert_refused(const ProtobufCMessageDescriptor *descriptor, const char *text,
			   const char *sentence)
{
	_cleanup_(error_done) struct error err = {};
	ProtobufCMessage *message = NULL;
	json_t *json = parse(text);

	assert_int_equal(pbjson_to_message(descriptor, json, PBJSON_STRICT, &message, &err),
			 -EINVAL);
	assert_null(message);
	assert_string_equal(error_message(&err), sentence);
	json_decref(json);
}

static void assert_json(const ProtobufCMessage *message, unsigned flags, const char *text)
{
	json_t *got = pbjson_from_message(message, flags);
	json_t *expected = parse(text);

	if (!json_equal(got, expected)) {
		_cleanup_free_ char *shown = json_dumps(got, 0);
		fail_msg("%s", shown);
	}
	json_decref(got);
	json_decref(expected);
}

static void test_runc_spec(void **state _unused_)
{
	Grpc__Spec *spec = read_as(&grpc__spec__descriptor, runc_spec);

	assert_string_equal(spec->hostname, "runc");
	assert_true(spec->process->terminal);
	assert_true(spec->process->nonewprivileges);
	assert_int_equal(spec->process->n_args, 1);
	assert_string_equal(spec->process->args[0], "sh");
	assert_int_equal(spec->process->rlimits[0]->hard, 1024);
	assert_int_equal(spec->process->capabilities->n_bounding, 3);
	assert_int_equal(spec->process->capabilities->n_inheritable, 0);
	assert_true(spec->root->readonly);
	assert_int_equal(spec->n_mounts, 7);
	assert_string_equal(spec->mounts[1]->options[3], "size=65536k");
	assert_int_equal(spec->linux->n_namespaces, 5);
	assert_string_equal(spec->linux->namespaces[4]->type, "mount");
	assert_int_equal(spec->linux->n_maskedpaths, 10);
	assert_string_equal(spec->linux->resources->devices[0]->access, "rwm");
	protobuf_c_message_free_unpacked(&spec->base, NULL);
}

/* Read, written with all names, read strictly and packed: the same bytes. */
static void test_round_trip(void **state _unused_)
{
	Grpc__Spec *first = read_as(&grpc__spec__descriptor, runc_spec);
	json_t *json = pbjson_from_message(&first->base, PBJSON_EMIT_DEFAULTS);
	ProtobufCMessage *second = NULL;

	assert_int_equal(
		pbjson_to_message(&grpc__spec__descriptor, json, PBJSON_STRICT, &second, NULL), 0);
	size_t len = protobuf_c_message_get_packed_size(&first->base);
	assert_int_equal(protobuf_c_message_get_packed_size(second), len);
	_cleanup_free_ uint8_t *a = xcalloc(len, 1);
	_cleanup_free_ uint8_t *b = xcalloc(len, 1);
	protobuf_c_message_pack(&first->base, a);
	protobuf_c_message_pack(second, b);
	assert_memory_equal(a, b, len);
	json_decref(json);
	protobuf_c_message_free_unpacked(second, NULL);
	protobuf_c_message_free_unpacked(&first->base, NULL);
}

static void test_maps(void **state _unused_)
{
	Grpc__Spec *spec = read_as(&grpc__spec__descriptor,
				   "{'annotations':{'a.b/c':'1','':''},'linux':{'sysctl':{}}}");
	assert_int_equal(spec->n_annotations, 2);
	assert_int_equal(spec->linux->n_sysctl, 0);
	assert_json(&spec->base, 0, "{'Annotations':{'a.b/c':'1','':''},'Linux':{}}");
	protobuf_c_message_free_unpacked(&spec->base, NULL);

	Grpc__CgroupStats *stats = read_as(
		&grpc__cgroup_stats__descriptor,
		"{'hugetlb_stats':{'2MB':{'usage':5},'1GB':{}},"
		"'memory_stats':{'stats':{'rss':18446744073709551615}}}");
	assert_int_equal(stats->n_hugetlb_stats, 2);
	assert_true(stats->memory_stats->stats[0]->value == UINT64_MAX);
	assert_json(&stats->base, 0,
		    "{'hugetlb_stats':{'2MB':{'usage':5},'1GB':{}},"
		    "'memory_stats':{'stats':{'rss':'18446744073709551615'}}}");
	protobuf_c_message_free_unpacked(&stats->base, NULL);
}

/* BlkioStatsEntry ends in Entry but is a message like any other. */
static void test_entry_that_is_no_map(void **state _unused_)
{
	static const char text[] = "{'sectors_recursive':[{'major':8,'op':'Read','value':3}]}";
	Grpc__BlkioStats *stats = read_as(&grpc__blkio_stats__descriptor, text);

	assert_string_equal(stats->sectors_recursive[0]->op, "Read");
	assert_json(&stats->base, 0, text);
	protobuf_c_message_free_unpacked(&stats->base, NULL);
}

static void test_names(void **state _unused_)
{
	Grpc__CreateSandboxRequest *request = read_as(
		&grpc__create_sandbox_request__descriptor,
		"{'sandboxId':'x','SANDBOX_PIDNS':true,'guesthookpath':'/h','more':[1]}");
	assert_string_equal(request->sandbox_id, "x");
	assert_true(request->sandbox_pidns);
	assert_string_equal(request->guest_hook_path, "/h");
	protobuf_c_message_free_unpacked(&request->base, NULL);
}

static void test_enums(void **state _unused_)
{
	Grpc__HealthCheckResponse *response = read_as(&grpc__health_check_response__descriptor,
						      "{'status':'SERVING'}");
	assert_int_equal(response->status, 1);
	assert_json(&response->base, 0, "{'status':'SERVING'}");
	response->status = 77;
	assert_json(&response->base, 0, "{'status':77}");
	response->status = 0;
	assert_json(&response->base, 0, "{}");
	assert_json(&response->base, PBJSON_EMIT_DEFAULTS, "{'status':'UNKNOWN'}");
	protobuf_c_message_free_unpacked(&response->base, NULL);

	response = read_as(&grpc__health_check_response__descriptor, "{'status':2}");
	assert_int_equal(response->status, 2);
	protobuf_c_message_free_unpacked(&response->base, NULL);
}

static void test_presence(void **state _unused_)
{
	Grpc__MemAgentMemcgConfig *config = read_as(&grpc__mem_agent_memcg_config__descriptor,
						    "{'swap':false,'period_secs':0}");
	assert_true(config->has_swap);
	assert_false(config->has_disabled);
	assert_json(&config->base, PBJSON_EMIT_DEFAULTS, "{'swap':false,'period_secs':0}");
	protobuf_c_message_free_unpacked(&config->base, NULL);

	Grpc__LinuxSyscall *call = read_as(&grpc__linux_syscall__descriptor, "{'errnoRet':0}");
	assert_int_equal(call->errno_ret_case, GRPC__LINUX_SYSCALL__ERRNO_RET_ERRNORET);
	assert_json(&call->base, 0, "{'errnoret':0}");
	protobuf_c_message_free_unpacked(&call->base, NULL);

	call = read_as(&grpc__linux_syscall__descriptor, "{'errnoRet':null,'action':null}");
	assert_int_equal(call->errno_ret_case, GRPC__LINUX_SYSCALL__ERRNO_RET__NOT_SET);
	assert_string_equal(call->action, "");
	assert_json(&call->base, PBJSON_EMIT_DEFAULTS, "{'Names':[],'Action':'','Args':[]}");
	protobuf_c_message_free_unpacked(&call->base, NULL);
}

static void test_numbers(void **state _unused_)
{
	Grpc__POSIXRlimit *limit = read_as(
		&grpc__posixrlimit__descriptor,
		"{'type':'18446744073709551616 \\' stays','hard':18446744073709551615,"
		"'soft':1e3}");
	assert_true(limit->hard == UINT64_MAX);
	assert_int_equal(limit->soft, 1000);
	assert_string_equal(limit->type, "18446744073709551616 \" stays");
	protobuf_c_message_free_unpacked(&limit->base, NULL);

	Grpc__CopyFileRequest *copy = read_as(&grpc__copy_file_request__descriptor,
					      "{'offset':-9223372036854775808,'uid':-2147483648,"
					      "'gid':'-5','file_mode':4294967295}");
	assert_true(copy->offset == INT64_MIN);
	assert_true(copy->uid == INT32_MIN);
	assert_int_equal(copy->gid, -5);
	assert_true(copy->file_mode == UINT32_MAX);
	assert_json(&copy->base, 0,
		    "{'offset':-9223372036854775808,'uid':-2147483648,'gid':-5,"
		    "'file_mode':4294967295}");
	protobuf_c_message_free_unpacked(&copy->base, NULL);
}

static void test_bytes(void **state _unused_)
{
	Grpc__ReadStreamResponse *response = read_as(&grpc__read_stream_response__descriptor,
						     "{'data':'AP/+'}");
	assert_int_equal(response->data.len, 3);
	assert_memory_equal(response->data.data, "\x00\xff\xfe", 3);
	assert_json(&response->base, 0, "{'data':'AP/+'}");
	protobuf_c_message_free_unpacked(&response->base, NULL);
}

static void test_base64(void **state _unused_)
{
	static const struct {
		const char *plain, *text;
	} pairs[] = { { "", "" },
		      { "f", "Zg==" },
		      { "fo", "Zm8=" },
		      { "foo", "Zm9v" },
		      { "foob", "Zm9vYg==" },
		      { "fooba", "Zm9vYmE=" },
		      { "foobar", "Zm9vYmFy" } };
	static const char *const bad[] = { "=", "A", "AA=A", "Zm9v Zg==", "====", "Zg=", "AAAAA" };
	uint8_t *data;
	size_t len;

	for (size_t i = 0; i < ARRAY_SIZE(pairs); i++) {
		_cleanup_free_ char *text = base64_encode(pairs[i].plain, strlen(pairs[i].plain));
		assert_string_equal(text, pairs[i].text);
		assert_int_equal(base64_decode(text, strlen(text), &data, &len), 0);
		assert_int_equal(len, strlen(pairs[i].plain));
		if (len > 0)
			assert_memory_equal(data, pairs[i].plain, len);
		free(data);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(base64_decode(bad[i], strlen(bad[i]), &data, &len), -EINVAL);
	assert_int_equal(base64_decode("-_8", 3, &data, &len), 0);
	assert_memory_equal(data, "\xfb\xff", 2);
	free(data);
}

static void test_refusals(void **state _unused_)
{
	assert_refused(&grpc__spec__descriptor, "{'process':{'args':['a',1]}}",
		       "process.args[1]: expected a string");
	assert_refused(&grpc__spec__descriptor, "{'mounts':[{},{'options':'ro'}]}",
		       "mounts[1].options: expected an array");
	assert_refused(&grpc__spec__descriptor, "{'ociVersion':'1'}",
		       "ociVersion: grpc.Spec has no such field");
	assert_refused(&grpc__spec__descriptor, "{'annotations':{'k':1}}",
		       "annotations.k: expected a string");
	assert_refused(&grpc__spec__descriptor, "{'annotations':[]}",
		       "annotations: expected an object");
	assert_refused(&grpc__spec__descriptor, "{'root':{'readonly':0}}",
		       "root.readonly: expected true or false");
	assert_refused(&grpc__spec__descriptor, "{'host_name':'a','hostname':'b'}",
		       "hostname: the field Hostname is given twice");
	assert_refused(&grpc__spec__descriptor, "[]", "expected an object");
	assert_refused(&grpc__signal_process_request__descriptor, "{'signal':-1}",
		       "signal: expected a whole number that fits uint32");
	assert_refused(&grpc__signal_process_request__descriptor, "{'signal':1.5}",
		       "signal: expected a whole number that fits uint32");
	assert_refused(&grpc__signal_process_request__descriptor, "{'signal':'9x'}",
		       "signal: expected a whole number that fits uint32");
	assert_refused(&grpc__linux_memory__descriptor, "{'limit':9223372036854775808}",
		       "limit: expected a whole number that fits int64");
	assert_refused(&grpc__health_check_response__descriptor, "{'status':'HAPPY'}",
		       "status: \"HAPPY\" is none of UNKNOWN, SERVING, NOT_SERVING");
	assert_refused(&grpc__read_stream_response__descriptor, "{'data':'?'}",
		       "data: expected base64 text");
	assert_refused(&grpc__cgroup_stats__descriptor, "{'hugetlb_stats':{'a':{},'b':{'x':1}}}",
		       "hugetlb_stats.b.x: grpc.HugetlbStats has no such field");
}

static void test_bad_text(void **state _unused_)
{
	static const char *const texts[] = {
		"",   "{",         "{\"a\":}",    "{\"a\":1,\"a\":2}",   "7",
		"\"", "{\"a\":-}", "{\"a\":\"\\", "99999999999999999999"
	};
	json_t *json = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		_cleanup_(error_done) struct error err = {};
		assert_int_equal(pbjson_parse(texts[i], strlen(texts[i]), &json, &err), -EINVAL);
		assert_non_null(strstr(error_message(&err), "line "));
	}
}

static void test_hostile_string(void **state _unused_)
{
	Grpc__Metrics metrics = GRPC__METRICS__INIT;

	metrics.metrics = (char *)(uintptr_t) "ok\xff!";
	assert_json(&metrics.base, 0, "{'metrics':'ok\xef\xbf\xbd!'}");
}

static void test_defaults(void **state _unused_)
{
	Grpc__GuestDetailsResponse details = GRPC__GUEST_DETAILS_RESPONSE__INIT;
	Grpc__AgentDetails agent = GRPC__AGENT_DETAILS__INIT;

	details.agent_details = &agent;
	agent.version = (char *)(uintptr_t) "1";
	assert_json(&details.base, 0, "{'agent_details':{'version':'1'}}");
	assert_json(&details.base, PBJSON_EMIT_DEFAULTS,
		    "{'mem_block_size_bytes':0,'agent_details':{'version':'1','init_daemon':false,"
		    "'device_handlers':[],'storage_handlers':[],'supports_seccomp':false,"
		    "'extra_features':[]},'support_mem_hotplug_probe':false}");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_runc_spec),      cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_maps),           cmocka_unit_test(test_entry_that_is_no_map),
		cmocka_unit_test(test_names),          cmocka_unit_test(test_enums),
		cmocka_unit_test(test_presence),       cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_bytes),          cmocka_unit_test(test_base64),
		cmocka_unit_test(test_refusals),       cmocka_unit_test(test_bad_text),
		cmocka_unit_test(test_hostile_string), cmocka_unit_test(test_defaults),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
