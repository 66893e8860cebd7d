"""A bundle as C for machines without an operating system. Needs no torch: a bundle can be written later.

`write_c("model.regrow", "firmware/model")`, or `regrow export model.regrow --c firmware/model`.
"""

from regrow_exporter.c_writer.folder import write_c as write_c
