#include "ctl/table.h"

#include <string.h>

#include "base/memory.h"
#include "base/strings.h"
#include "base/strv.h"

struct table {
	const char *const *heads;
	size_t columns;
	struct strv cells;
};

struct table *table_new(const char *const *heads)
{
	struct table *table = xnew(struct table);

	table->heads = heads;
	while (heads[table->columns])
		table->columns++;
	return table;
}

void table_add(struct table *table, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	char *text = xvasprintf(fmt, args);
	va_end(args);
	str_neutralise(text, "");
	strv_take(&table->cells, text);
}

static int column_width(const struct table *table, size_t column)
{
	size_t width = strlen(table->heads[column]);

	for (size_t i = column; i < table->cells.count; i += table->columns) {
		size_t len = strlen(table->cells.items[i]);
		if (len > width)
			width = len;
	}
	return (int)width;
}

static void print_cell(const struct table *table, size_t column, const char *text, FILE *out)
{
	if (column + 1 < table->columns)
		fprintf(out, "%-*s  ", column_width(table, column), text);
	else
		fprintf(out, "%s\n", text);
}

void table_print(const struct table *table, FILE *out)
{
	for (size_t i = 0; i < table->columns; i++)
		print_cell(table, i, table->heads[i], out);
	size_t column = 0;
	for (size_t i = 0; i < table->cells.count; i++) {
		print_cell(table, column, table->cells.items[i], out);
		column = column + 1 < table->columns ? column + 1 : 0;
	}
}

void table_free(struct table *table)
{
	if (!table)
		return;
	strv_done(&table->cells);
	free(table);
}
