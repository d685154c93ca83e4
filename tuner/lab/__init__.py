"""The lab's own figures: what `make bench` measures and what the documents show as tables.

Nothing else imports from here. `bench` compares the lab with itself and with other tuners, `ladder` lists the
resources of GPU kernels, `compile_rate` counts candidates a minute.
"""
