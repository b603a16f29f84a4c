import site, sysconfig
print(site.ENABLE_USER_SITE, site.PREFIXES, sysconfig.get_path("purelib"))
import sys
print(sys.base_prefix != sys.prefix, exit, help, license, credits)
