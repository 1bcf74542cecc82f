/*
 * Exclusive running products: for each element the product of those before it, or after it, on its
 * line along an axis; 1 where there are none. Graph code, for the rules of products.
 */
#ifndef NABLA_SRC_SCAN_H
#define NABLA_SRC_SCAN_H

#include <nabla/tape.h>

nb_var nbi_product_before(nb_var x, int axis);
nb_var nbi_product_after(nb_var x, int axis);

#endif
