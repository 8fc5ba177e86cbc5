"""The shipped parts: data only, one file a family. Every `*Spec` found in a file here is a part."""
